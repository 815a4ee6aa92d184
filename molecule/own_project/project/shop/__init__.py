"""A shop that is not part of this bundle."""
