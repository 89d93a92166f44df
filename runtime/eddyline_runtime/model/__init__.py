"""The networks: StreamDiT, the video codec and the text encoders."""
