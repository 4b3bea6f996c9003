"""What developers run beside the product; nothing of the product imports it."""
