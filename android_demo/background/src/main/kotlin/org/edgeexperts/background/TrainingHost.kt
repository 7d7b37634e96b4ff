/** What an app gives the system's job: the work that it keeps alive, and what to show meanwhile. */
package org.edgeexperts.background

import android.content.Intent
import java.io.Closeable

/** The app's Application implements this; the system starts the job by itself and finds the work through it. */
public interface TrainingApp {
    /** The one of this process. */
    public val training: TrainingHost
}

/** The work that a job keeps alive. Its methods are called on the main thread and return at once. */
public interface TrainingHost {
    /** How notifications look. */
    public val style: NoticeStyle

    /** What to show now. */
    public val notice: Notice

    /** Whether there is anything to do; a job without ends itself. */
    public val atWork: Boolean

    /** A job began ([begun]): work under its conditions. Or it must end. */
    public fun job(begun: Boolean)

    /** Tells [changed] whenever [notice] may be another, on the main thread, until what is returned is closed. */
    public fun listen(changed: () -> Unit): Closeable

    /** The user stopped training by the notification. */
    public fun stop()
}

/**
 * What a notification says; no text of the user's.
 *
 * @property step made of [steps]; 0 of 0 while there is nothing to count.
 */
public data class Notice(
    public val title: String,
    public val text: String,
    public val step: Int = 0,
    public val steps: Int = 0,
)

/**
 * How notifications look.
 *
 * @property icon and [stopIcon] drawables of the app's.
 * @property color 0xAARRGGBB.
 * @property channelName and [channelText] what the system's settings call them.
 * @property stopText on the button that stops training.
 * @property open what a press on the notification opens.
 */
public class NoticeStyle(
    public val icon: Int,
    public val stopIcon: Int,
    public val color: Int,
    public val channelName: String,
    public val channelText: String,
    public val stopText: String,
    public val open: Intent,
)
