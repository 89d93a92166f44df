"""The process that hosts StreamDiT: model, moving buffer, engine, server and training."""
