"""The security audit of a deployment, beside it: `make security`."""
