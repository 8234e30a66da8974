"""What users test their apps with."""
