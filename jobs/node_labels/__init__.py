"""Steps of the pipeline ``node_labels``, in a file each."""
