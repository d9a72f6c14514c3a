"""The words of a theorem: configs and claims."""
