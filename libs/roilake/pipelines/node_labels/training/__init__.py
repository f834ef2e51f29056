"""What node models are trained from, and how."""
