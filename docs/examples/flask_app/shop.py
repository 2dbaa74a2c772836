"""A small shop: orders need a key, a report needs a scope, the health check needs nothing."""

from flask import Flask, jsonify

from apikey_guard.flask import ApiKeyGuard, ApiKeyRejected, current_consumer

guard = ApiKeyGuard()


def create_app(**config):
    app = Flask(__name__)
    app.config["APIKEY_GUARD_VALIDATOR_URL"] = "http://127.0.0.1:8181/verify"
    app.config.from_prefixed_env()  # FLASK_APIKEY_GUARD_VALIDATOR_URL=... in production
    app.config.update(config)
    guard.init_app(app)

    @app.get("/health")
    @guard.public
    def health():
        return {"status": "ok"}

    @app.get("/orders")
    def orders():
        return {"orders_of": current_consumer.username}

    @app.get("/report")
    @guard.require_scopes("reports")
    def report():
        return {"report_for": current_consumer.username}

    @app.errorhandler(ApiKeyRejected)
    def rejected(error):
        answer = jsonify(error=error.description)
        answer.status_code = error.code
        for name, value in error.get_headers():
            if name != "Content-Type":
                answer.headers.add(name, value)
        return answer

    return app
