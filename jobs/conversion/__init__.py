"""Steps of the conversion pipeline, in a file each."""
