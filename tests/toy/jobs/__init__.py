"""Steps of the toy pipeline, in a file each."""
