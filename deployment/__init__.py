"""What a deployment is and is to become: the model, decisions, checks and texts, in plain Python without Ansible."""
