"""URLs under which nginx serves the folder of blobs to who was sent there, and to nobody else.

Source: nginx, ngx_http_secure_link_module, whose `secure_link_md5` is `"$secure_link_expires$uri SECRET"`.
"""

import base64
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from layerkit.oci.digest import Digest


@dataclass(frozen=True, slots=True)
class SecureLinks:
    """`base` is the URL of the folder `blobs/`; a link holds for `seconds`."""

    base: str
    secret: str
    seconds: int
    clock: Callable[[], float] = time.time

    def url_of(self, digest: Digest) -> str:
        place = f"/{digest.algorithm}/{digest.encoded[:2]}/{digest.encoded}"
        expires = int(self.clock()) + self.seconds
        text = f"{expires}{urlsplit(self.base).path}{place} {self.secret}"
        # MD5 is what nginx has. The secret stands at the end, so nothing can be appended to what was signed.
        signature = base64.urlsafe_b64encode(hashlib.md5(text.encode(), usedforsecurity=False).digest())
        return f"{self.base}{place}?md5={signature.decode().rstrip('=')}&expires={expires}"
