"""What others rely on in an app, as plain text: written, compared, and read by who knows nothing else of it."""
