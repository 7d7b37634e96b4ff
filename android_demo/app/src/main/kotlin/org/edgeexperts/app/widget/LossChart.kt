package org.edgeexperts.app.widget

import android.content.Context
import android.graphics.Canvas
import android.graphics.Paint
import android.graphics.Path
import android.graphics.RectF
import android.util.AttributeSet
import android.util.TypedValue
import android.view.View
import org.edgeexperts.app.R
import org.edgeexperts.core.LossPoint
import kotlin.math.max
import kotlin.math.min

/** Loss by step, with axes. What it shows is also its content description. */
class LossChart @JvmOverloads constructor(context: Context, attributes: AttributeSet? = null) :
    View(context, attributes) {
    private val gap = resources.getDimension(R.dimen.gap)
    private val words = paint(R.color.text_soft).apply {
        textSize = TypedValue.applyDimension(TypedValue.COMPLEX_UNIT_SP, WORDS_SP, resources.displayMetrics)
    }
    private val grid = paint(R.color.outline).apply { strokeWidth = gap / 8 }
    private val faint = stroke(R.color.control_outline, gap / 8)
    private val line = stroke(R.color.accent, gap / 3)
    private val dot = paint(R.color.accent)
    private val locale = resources.configuration.locales[0]
    private val stepWord = context.getString(R.string.loss_axis_steps)

    /** The points, by ascending step. */
    var points: List<LossPoint> = emptyList()
        set(points) {
            if (points == field) return
            field = points
            contentDescription = described(points)
            invalidate()
        }

    private fun paint(color: Int) = Paint(Paint.ANTI_ALIAS_FLAG).apply { this.color = context.getColor(color) }

    private fun stroke(color: Int, width: Float) = paint(color).apply {
        style = Paint.Style.STROKE
        strokeWidth = width
        strokeJoin = Paint.Join.ROUND
        strokeCap = Paint.Cap.ROUND
    }

    private fun described(points: List<LossPoint>): String {
        if (points.isEmpty()) return context.getString(R.string.loss_none)
        fun number(loss: Double) = String.format(locale, "%.2f", loss)
        return context.getString(
            R.string.loss_described, number(points.first().loss), number(points.last().loss), points.last().step,
            number(points.minOf { it.loss }),
        )
    }

    override fun onMeasure(widthMeasureSpec: Int, heightMeasureSpec: Int) {
        // Larger letters take their room from the curve otherwise.
        val wanted = resources.getDimensionPixelSize(R.dimen.chart_height) + (2 * words.textSize).toInt()
        setMeasuredDimension(MeasureSpec.getSize(widthMeasureSpec), resolveSize(wanted, heightMeasureSpec))
    }

    override fun onDraw(canvas: Canvas) {
        val losses = points.map { it.loss }.filter { it.isFinite() }
        if (losses.isEmpty()) return
        val up = ticks(min(0.0, losses.min()), losses.max(), rowsThatFit())
        val labels = up.values.map { String.format(locale, "%.${up.decimals}f", it) }
        val plot = RectF(
            paddingLeft + labels.maxOf(words::measureText) + gap,
            paddingTop + words.textSize,
            width - paddingRight - gap,
            height - paddingBottom - words.textSize - 2 * gap,
        )
        val along = ticks(0.0, max(2, points.last().step).toDouble(), columnsThatFit(plot), whole = true)
        val scale = Scale(plot, along.values.last(), up.values.first(), up.values.last())
        drawAxes(canvas, scale, up.values.zip(labels), along.values)
        drawCurve(canvas, scale)
    }

    private fun rowsThatFit() = (height / (words.textSize * 3)).toInt().coerceIn(2, MOST_TICKS)

    private fun columnsThatFit(plot: RectF) =
        (plot.width() / words.measureText("$stepWord 0000")).toInt().coerceIn(1, MOST_TICKS)

    private class Scale(val plot: RectF, val steps: Double, val low: Double, val high: Double) {
        fun x(step: Double) = plot.left + (plot.width() * step / steps).toFloat()
        fun y(loss: Double) = plot.bottom - (plot.height() * (loss - low) / (high - low)).toFloat()
    }

    private fun drawAxes(canvas: Canvas, scale: Scale, up: List<Pair<Double, String>>, along: List<Double>) {
        val plot = scale.plot
        for ((value, label) in up) {
            val y = scale.y(value)
            canvas.drawLine(plot.left, y, plot.right, y, grid)
            canvas.drawText(label, plot.left - gap - words.measureText(label), y + words.textSize / 3, words)
        }
        for ((place, step) in along.withIndex()) {
            val number = step.toInt().toString()
            val label = if (place == 0) stepWord else number
            val room = words.measureText(label)
            val x = if (place == 0) plot.left else min(scale.x(step) - room / 2, width - paddingRight - room)
            canvas.drawText(label, x, plot.bottom + gap + words.textSize, words)
        }
    }

    /** Each step's loss is noisy: the thick line is the mean of the steps around. */
    private fun drawCurve(canvas: Canvas, scale: Scale) {
        val finite = points.filter { it.loss.isFinite() }
        if (finite.size == 1) {
            canvas.drawCircle(scale.x(finite[0].step.toDouble()), scale.y(finite[0].loss), gap / 2, dot)
            return
        }
        val smooth = smoothed(finite.map { it.loss })
        canvas.drawPath(path(scale, finite, finite.map { it.loss }), faint)
        canvas.drawPath(path(scale, finite, smooth), line)
        canvas.drawCircle(scale.x(finite.last().step.toDouble()), scale.y(smooth.last()), gap / 2, dot)
    }

    private fun path(scale: Scale, finite: List<LossPoint>, losses: List<Double>) = Path().apply {
        finite.zip(losses).forEachIndexed { place, (point, loss) ->
            val (x, y) = scale.x(point.step.toDouble()) to scale.y(loss)
            if (place == 0) moveTo(x, y) else lineTo(x, y)
        }
    }

    private companion object {
        const val WORDS_SP = 12f
        const val MOST_TICKS = 5
    }
}

/** Returns the mean of each loss and its neighbours: a twelfth of the curve on either side. */
fun smoothed(losses: List<Double>): List<Double> {
    val reach = losses.size / SMOOTHING
    return losses.indices.map { place ->
        val near = min(reach, min(place, losses.lastIndex - place))
        losses.subList(place - near, place + near + 1).average()
    }
}

private const val SMOOTHING = 12
