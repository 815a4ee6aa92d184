"""What each host is to have, as sections of parts for the module host_apply: one module for each role."""
