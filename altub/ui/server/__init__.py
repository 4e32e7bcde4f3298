"""What stands between the network and Gradio: limits, logins, headers, temporary files, the end of the server."""
