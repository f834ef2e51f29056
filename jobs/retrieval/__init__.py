"""Steps of the retrieval pipeline, in a file each."""
