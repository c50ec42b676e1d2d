"""The settings of a study: schema, validation, composition, and the command line."""
