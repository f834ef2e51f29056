"""The steps of a night, one thin file each: ``python -m jobs.NAME --ds ... --conf ... --lake ...``."""
