"""Files of any source -> rows of a table: mapping, quarantine, entity ids."""
