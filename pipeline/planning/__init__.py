"""What a study will take, and what it will be able to show, before any of its budget is spent."""
