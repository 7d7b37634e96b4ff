"""Open a package, train it, predict, save; then learn with others. The gateway of a federation of one is here, too."""

from broker_server import Gateway, load_config
from edge_runtime import Model

PACKAGE, DATA = "packages/pixel8", "mine.csv"

with Model.open(PACKAGE) as model:
    report = model.train(csv=DATA, epochs=3, progress=lambda now: print(f"{now.stage}: {now.done} of {now.total}"))
    print(f"{report.steps} steps in {report.seconds:.1f} s, loss {report.losses[0]:.3f} to {report.losses[-1]:.3f}")
    for prediction in model.predict(["wake me up at six", "play some jazz"]):
        print(f"{prediction.label} ({prediction.probability:.0%})")
    model.save("my-bank")

    settings = load_config(package=PACKAGE, rounds=2, round={"quorum": 1}, listen={"port": 0}, web={"port": 0})
    with Gateway(settings) as gateway:  # on other machines: broker_server init, enroll, run, and model.join(enrolment)
        joined = model.join(
            gateway.url, csv=DATA, device="me", state="me-state", events=lambda event: print(event.text)
        )
        gateway.wait()
        print(f"version {joined.version} of {[version.number for version in gateway.versions()]}")
    print(f"accuracy {model.evaluate(csv=DATA).accuracy:.0%} with {model.bank_name}")
