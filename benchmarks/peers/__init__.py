"""What a user would do instead, each as the script that would be written for it."""
