import org.edgeexperts.core.TrainOptions
import org.edgeexperts.core.openDevice
import org.edgeexperts.desktop.DesktopEngine
import org.edgeexperts.wire.PackageFolder
import java.io.File

/** A classifier that learns labels and texts from a file of lines "text,label": package, state folder, C library, file. */
fun main(words: Array<String>) {
    val (packageFolder, stateFolder, library, texts) = words.map(::File)
    val engine = DesktopEngine(library) // on a phone: findEngine()
    openDevice(PackageFolder.open(packageFolder), stateFolder, engine).use { device ->
        device.addExamples(texts.readLines().drop(1).map { it.substringBeforeLast(',') to it.substringAfterLast(',') })
        device.train(TrainOptions(steps = 30, learningRate = 0.02), { println("loss ${it.loss}") })
        for (example in device.examples()) {
            val prediction = device.classify(example.text)
            println("label ${prediction.label} ${example.label} ${prediction.confidence}")
        }
    }
}
