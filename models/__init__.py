"""The bundle: everything a server needs of a student, in one folder."""
