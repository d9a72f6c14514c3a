"""Pictures of labelled arrays."""
