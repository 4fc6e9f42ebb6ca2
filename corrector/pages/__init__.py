"""What the pictures and pages of all reports share."""
