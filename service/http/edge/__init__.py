"""The edge: what stands between the network and the app, so that no proxy has to."""
