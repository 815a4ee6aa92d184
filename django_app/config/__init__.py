"""The project: settings, URLs, and the entry points for a server."""
