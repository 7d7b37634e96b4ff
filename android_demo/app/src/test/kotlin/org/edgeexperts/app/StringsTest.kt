package org.edgeexperts.app

import org.w3c.dom.Element
import java.io.File
import javax.xml.parsers.DocumentBuilderFactory
import kotlin.test.Test
import kotlin.test.assertEquals
import kotlin.test.assertTrue

/** Both languages say everything, with the same things filled in. */
class StringsTest {
    private val resources = File(System.getProperty("repository.root"), "android_demo/app/src/main/res")

    private fun strings(folder: String): Map<String, String> {
        val file = File(resources, "$folder/strings.xml")
        val root = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(file).documentElement
        val elements = (0 until root.childNodes.length).map(root.childNodes::item).filterIsInstance<Element>()
        return elements.associate { "${it.tagName} ${it.getAttribute("name")}" to it.textContent }
    }

    private fun filled(text: String) = Regex("%[0-9]\\$[sd]").findAll(text).map { it.value }.toSortedSet()

    @Test fun germanHasEveryStringOfEnglish() {
        val (english, german) = strings("values") to strings("values-de")
        assertEquals(english.keys, german.keys)
        assertTrue(english.size > 100)
        for ((name, text) in english) assertEquals(filled(text), filled(german.getValue(name)), name)
    }

    /** No string is left that nothing uses. */
    @Test fun everyStringIsUsed() {
        val sources = resources.parentFile!!.walk().filter { it.extension in setOf("kt", "xml") }
            .filterNot { it.name == "strings.xml" }.joinToString("\n") { it.readText() }
        val unused = strings("values").keys.map { it.substringAfter(' ') }
            .filterNot { Regex("(string|plurals)[./]$it\\b").containsMatchIn(sources) }
        assertEquals(emptyList(), unused)
    }

    /** Every colour of the light theme has one of the dark theme, but the launcher's. */
    @Test fun everyColourHasADarkOne() {
        fun names(folder: String) =
            Regex("name=\"(\\w+)\"").findAll(File(resources, "$folder/colors.xml").readText()).map { it.groupValues[1] }.toSet()
        assertEquals(names("values") - "launcher_background", names("values-night"))
    }
}
