"""Health endpoints and a check of every cache operation, for any Django project."""
