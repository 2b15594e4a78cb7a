"""Signs a statement of `rankfold manifest --oms` with the library of model-signing, as its own command signs its own.

`sign.py keys FOLDER` makes a key pair for a test, `sign.py sign STATEMENT KEY SIGNATURE` signs, and
`sign.py show SIGNATURE` prints the statement of a signature.
"""

import base64
import json
import sys
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from model_signing._signing import sign_ec_key


def keys(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    public = key.public_key().public_bytes(serialization.Encoding.PEM,
                                           serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "key.pem").write_bytes(private)
    (folder / "key.pub").write_bytes(public)


def sign(statement: Path, key: Path, signature: Path) -> None:
    message = json_format.Parse(statement.read_text(), statement_pb2.Statement())
    payload = SimpleNamespace(statement=SimpleNamespace(pb=message))
    sign_ec_key.Signer(key).sign(payload).write(signature)


def show(signature: Path) -> None:
    envelope = json.loads(signature.read_text())["dsseEnvelope"]
    print(base64.b64decode(envelope["payload"]).decode())


if __name__ == "__main__":
    {"keys": keys, "sign": sign, "show": show}[sys.argv[1]](*map(Path, sys.argv[2:]))
