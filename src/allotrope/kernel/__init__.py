"""What an application is: values only. No I/O, no clock, no thread; standard library and msgspec."""
