"""The bundle: everything it takes to serve a student, in one folder; and how to run it."""
