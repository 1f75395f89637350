"""Where problems come from: generated without end (`gym`) or read from files and hubs (`load`)."""
