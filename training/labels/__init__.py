"""Labels: every teacher's scores, computed once and kept in the score store."""
