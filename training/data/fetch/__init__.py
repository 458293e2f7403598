"""Getting the data sets of the catalog: where each comes from, and downloading it."""
