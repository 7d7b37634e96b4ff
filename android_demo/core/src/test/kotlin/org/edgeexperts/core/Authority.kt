package org.edgeexperts.core

import java.io.File
import java.security.Key
import java.security.KeyStore
import java.util.Base64
import kotlin.test.assertEquals

private const val SECRET = "changeit" // of a key store that lives as long as its test

/** An authority of a test with the certificates that it signs, made by the JDK's keytool. */
class Authority(private val folder: File, private val name: String) {
    private val path = File(folder, "$name.p12")

    init {
        generate(name, "-ext", "bc:c", "-keyalg", "EC")
    }

    private fun generate(alias: String, vararg more: String) {
        val tool = File(System.getProperty("java.home"), "bin/keytool").path
        val process = ProcessBuilder(
            tool, "-J-XX:TieredStopAtLevel=1", "-genkeypair", "-alias", alias, "-dname", "CN=$alias",
            "-keystore", path.path, "-storetype", "PKCS12", "-storepass", SECRET, "-validity", "2", *more,
        ).redirectErrorStream(true).start()
        val printed = process.inputStream.bufferedReader().readText()
        assertEquals(0, process.waitFor(), printed)
    }

    /** Makes a key of the kind [algorithm] and signs its certificate. */
    fun sign(alias: String, algorithm: String = "EC", vararg more: String) =
        generate(alias, "-signer", name, "-keyalg", algorithm, *more)

    private fun store() = path.inputStream().use { file ->
        KeyStore.getInstance("PKCS12").apply { load(file, SECRET.toCharArray()) }
    }

    private fun pem(kind: String, data: ByteArray): String {
        val text = Base64.getMimeEncoder(64, "\n".toByteArray()).encodeToString(data)
        return "-----BEGIN $kind-----\n$text\n-----END $kind-----\n"
    }

    fun certificate(alias: String = name) = pem("CERTIFICATE", store().getCertificate(alias).encoded)

    fun key(alias: String): String {
        val key: Key = store().getKey(alias, SECRET.toCharArray())
        return pem("PRIVATE KEY", key.encoded)
    }

    /** Returns the paths of a certificate and its key, as a server reads them. */
    fun write(alias: String): List<String> = listOf(
        File(folder, "$name.$alias.pem").apply { writeText(certificate(alias)) }.path,
        File(folder, "$name.$alias.key").apply { writeText(key(alias)) }.path,
    )
}
