"""What the modules host_look and host_apply are made of: one file for each subject, each usable without Ansible."""
