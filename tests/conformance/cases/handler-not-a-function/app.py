handler = "a string"
