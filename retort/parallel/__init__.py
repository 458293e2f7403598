"""Work that is divided: among processes that know nothing of each other, or over a Ray cluster."""
