/** Reading what others wrote, within bounds. */
package org.edgeexperts.wire

import java.io.InputStream

/** Returns what is left in a stream, but at most [limit] + 1 bytes: a reader that refuses more sees that there were. */
public fun readLimited(stream: InputStream, limit: Int): ByteArray {
    val data = ByteArray(limit + 1)
    var size = 0
    while (size < data.size) {
        val more = stream.read(data, size, data.size - size)
        if (more < 0) break
        size += more
    }
    return data.copyOf(size)
}
