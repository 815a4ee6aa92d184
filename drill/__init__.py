"""Break a deployment on purpose, under load, and compare what happens with what is promised."""
