"""The graph -> what each node's surroundings are like: table ``node_distributions``."""
