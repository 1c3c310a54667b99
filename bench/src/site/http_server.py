"""Serves a folder over HTTP: python3 http_server.py PORT FOLDER CONGESTION_CONTROL"""
import functools
import http.server
import socket
import sys

port, folder, congestion = sys.argv[1:]


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def server_bind(self):
        # Connections inherit it. A namespace's default is the machine's, which may be another.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
        super().server_bind()


class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"


Server(("", int(port)), functools.partial(Handler, directory=folder)).serve_forever()
