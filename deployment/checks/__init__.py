"""What is wrong with an inventory, or with the hosts that it names, before anything is changed."""
