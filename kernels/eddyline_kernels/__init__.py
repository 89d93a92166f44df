"""Operators for StreamDiT. Each has a plain torch reference beside it; nothing here knows the runtime or the SDK."""
