"""Files and folders: read with bounds, written whole, refused in sentences."""
