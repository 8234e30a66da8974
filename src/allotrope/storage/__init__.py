"""What logs and stores share: files, groups of writes, locks, partitions, crash points."""
